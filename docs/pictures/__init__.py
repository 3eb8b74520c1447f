"""Pictures of the dashboards (`make pictures`): each panel's real query, of a Prometheus that scraped the shop."""
