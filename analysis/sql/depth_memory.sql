-- Peak memory by depth, medians over seeds and tasks, and its ratio to that of backpropagation, where networks of many depths ran for it.
WITH peaks AS (
    SELECT
        task, replace(replace(regexp_replace(network, '\bdepth=[0-9]+,?', ''), ',)', ')'), '()', '') AS network, optimizer, (network_fields->>'depth')::INTEGER AS depth,
        median(peak_bytes)::DOUBLE AS peak
    FROM trials
    WHERE alias = 'forward_depth' AND stage = 'eval' AND peak_bytes > 0
    GROUP BY ALL
)
SELECT
    network, depth, f.optimizer, median(f.peak) / 1e6 AS peak_mb, median(f.peak / b.peak) AS ratio,
    list(DISTINCT task ORDER BY task) AS tasks
FROM peaks AS f JOIN peaks AS b USING (task, network, depth)
WHERE b.optimizer = 'sgd' AND depth IS NOT NULL
GROUP BY ALL
ORDER BY network, depth, f.optimizer;
