// A dashboard as a Grafana of today takes it, for literals that end in `satisfies Written`.

import type { AnnotationQuery, Dashboard, DataQuery, DataSourceRef, FieldConfig, FieldConfigSource, Panel, RowPanel, TableFieldOptions } from "@grafana/schema";
import type { Options as Stat } from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type { Options as Table } from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type { Options as Lines, FieldConfig as LineOptions } from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

// A type as JSON writes it: an enum's strings in place of its members.
type Json<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Json<T[K]> } : T;

// What Prometheus is asked; @grafana/schema has no type for it.
interface Query extends DataQuery {
  datasource: DataSourceRef;
  expr: string;
  legendFormat: string;
  format: "time_series" | "table";
  editorMode: "code";
  instant: boolean;
  range: boolean;
}

// `custom` without the index signature that Grafana's own has: a misspelt option is an error.
interface Fields<Custom> extends Omit<FieldConfigSource, "defaults"> {
  defaults: Omit<FieldConfig, "custom"> & { custom: Custom };
}

interface Shown<Type extends string, Options, Custom> extends Omit<Panel, "type" | "options" | "targets" | "fieldConfig"> {
  type: Type;
  description: string;
  options: Options;
  targets: Query[];
  fieldConfig: Fields<Custom>;
}

// By their type: what one of them alone knows is unknown to all others.
type AnyPanel = RowPanel | Shown<"stat", Stat, {}> | Shown<"timeseries", Lines, LineOptions> | Shown<"table", Table, TableFieldOptions>;

// What is marked; how Prometheus's answer is shown is no part of @grafana/schema.
interface Event extends AnnotationQuery {
  target: DataQuery & { expr: string; interval: string };
  titleFormat: string;
  tagKeys: string;
}

export type Written = Json<Omit<Dashboard, "panels" | "annotations"> & { panels: AnyPanel[]; annotations: { list: Event[] } }>;
