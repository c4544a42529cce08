-- One row per task and method, over seeds. Costs are medians of completed runs; a retiming pass, where there is one,
-- replaces the seconds. The first step is not on the clock: a trial of one step has no seconds.
WITH retimed AS (
    SELECT task, network, optimizer, coalesce(alias, '') AS alias, median(seconds) AS seconds
    FROM trials WHERE stage = 'retime' AND status = 'completed' AND timing = 'exclusive' AND steps > 1
    GROUP BY ALL
), reached AS (
    SELECT task, method, count_if(reached)::INTEGER AS reached, list(gradients ORDER BY seed) AS to_target
    FROM time_to_target GROUP BY ALL
), cells AS (
    SELECT
        task, method, optimizer, network, alias, setting, on_reference, coalesce(any_value(family), '') AS family,
        coalesce(any_value(optimizer_name), '') AS optimizer_name, coalesce(any_value(network_family), '') AS network_family,
        coalesce(any_value(metric), 'metric') AS metric, coalesce(any_value(higher_is_better), false) AS higher_is_better,
        count(*)::INTEGER AS n, count_if(failed)::INTEGER AS failures, list(if(failed, 'nan'::DOUBLE, test_at_best) ORDER BY seed) AS scores,
        max(target) AS target, max(budget) AS budget, max(gradients / nullif(budget, 0)) AS spent,
        median(seconds) FILTER (status = 'completed' AND steps > 1) AS seconds,
        coalesce(bool_or(timing = 'packed'), false) AS packed,
        coalesce(median(peak_mb) FILTER (status = 'completed'), median(peak_mb)) AS peak_mb
    FROM final GROUP BY ALL
)
SELECT
    cells.* REPLACE (
        coalesce(retimed.seconds, cells.seconds) AS seconds,
        cells.packed AND retimed.seconds IS NULL AS packed
    ),
    coalesce(reached.reached, 0) AS reached,
    coalesce(reached.to_target, []::DOUBLE[]) AS to_target
FROM cells
LEFT JOIN retimed USING (task, network, optimizer, alias)
LEFT JOIN reached USING (task, method)
ORDER BY task, method;
