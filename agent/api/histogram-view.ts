import type { Metric, Registry } from "prom-client";
import type { HistogramCounts } from "../host/histogram.ts";

/** Label value → histogram; null where nobody can tell. */
export type LabelledHistograms = { readonly [value: string]: HistogramCounts } | null;

export interface HistogramView {
  /** Shows these in the next answer. */
  show(histograms: LabelledHistograms): void;
}

/**
 * Returns a metric of histograms that another process counts, told apart by a label; without one there is one, of any name.
 * The library's own histogram counts only what it observes itself, so this gives the library what it asks of any metric
 * when it writes them down.
 */
export function createHistogramView(
  registry: Registry,
  what: string,
  help: string,
  label: string | null = null,
): HistogramView {
  const name = `clawgress_${what}_seconds`;
  let shown: LabelledHistograms = null;
  const values = (): readonly object[] =>
    Object.entries(shown ?? {}).flatMap(([value, counts]) =>
      bucketsOf(name, label === null ? {} : { [label]: value }, counts),
    );
  const get = async () => ({ name, help, type: "histogram", aggregator: "sum", values: values() });
  registry.registerMetric({ name, help, get, reset: () => {} } as unknown as Metric);
  return {
    show: (histograms) => {
      shown = histograms;
    },
  };
}

function bucketsOf(
  name: string,
  labels: { readonly [label: string]: string },
  { boundsS, counts, sumS }: HistogramCounts,
): readonly object[] {
  let sum = 0;
  const buckets = counts.map((count, index) => {
    sum += count;
    return { metricName: `${name}_bucket`, labels: { ...labels, le: boundsS[index] ?? "+Inf" }, value: sum };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sumS },
    { metricName: `${name}_count`, labels, value: sum },
  ];
}
