-- One row per task and method, over seeds; trials under an alias are repeats, or there for another purpose. Costs are medians of completed runs. Seconds are those of trials that had
-- their device to themselves, where there are any: evaluations timed again come first, then evaluations. Else they are
-- packed, and `packed` says so. The first step is not on the clock: a trial of one step has no seconds.
WITH timed AS (
    SELECT final.*, retimed.seconds AS retimed, status = 'completed' AND steps > 1 AS is_timed
    FROM final LEFT JOIN retimed USING (key) WHERE alias = ''
), reached AS (
    SELECT task, method, count_if(reached)::INTEGER AS reached, list(gradients ORDER BY seed) AS to_target
    FROM time_to_target GROUP BY ALL
), cells AS (
    SELECT
        task, data, method, optimizer, network, alias, setting, on_reference, coalesce(any_value(family), '') AS family,
        coalesce(any_value(optimizer_name), '') AS optimizer_name, coalesce(any_value(network_family), '') AS network_family,
        coalesce(any_value(network_name), '') AS network_name, coalesce(any_value(optimizer_family), '') AS optimizer_family,
        coalesce(any_value(metric), 'metric') AS metric, coalesce(any_value(higher_is_better), false) AS higher_is_better,
        count(*)::INTEGER AS n, count_if(failed)::INTEGER AS failures, list(if(failed, 'nan'::DOUBLE, test_at_best) ORDER BY seed) AS scores,
        max(target) AS target, max(budget) AS budget, max(gradients / nullif(budget, 0)) AS spent,
        coalesce(
            median(retimed), median(seconds) FILTER (is_timed AND timing = 'exclusive'), median(seconds) FILTER (is_timed)
        ) AS seconds,
        count(retimed) + count_if(is_timed AND timing = 'exclusive') = 0 AND count_if(is_timed AND timing = 'packed') > 0 AS packed,
        coalesce(median(peak_mb) FILTER (status = 'completed'), median(peak_mb)) AS peak_mb
    FROM timed GROUP BY ALL
)
SELECT
    cells.*, method IN (SELECT r.method FROM repeats AS r) AS repeated,
    coalesce(reached.reached, 0) AS reached,
    coalesce(reached.to_target, []::DOUBLE[]) AS to_target
FROM cells
LEFT JOIN reached USING (task, method)
ORDER BY task, method;
