"""Autoscaling: policies of mesh.yaml to numbers of instances. The decision is pure; sources and actuators await."""
