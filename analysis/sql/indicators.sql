-- Spread over seeds and cost of an epoch by method, beside those of `sgd`: geometric means over the tasks with data that both ran on, in runs with integrators.
WITH cells AS (
    SELECT
        task, method, optimizer_family, stddev_samp(test_at_best) AS spread, median(gradients / epochs) AS gradients,
        median(seconds / epochs) FILTER (steps > 1) AS seconds, bool_or(timing = 'packed') AS packed
    FROM final
    WHERE alias = '' AND on_reference AND NOT failed AND epochs > 0 AND network_name <> 'direct'
    GROUP BY ALL
)
SELECT
    c.method, count(*)::INTEGER AS tasks, exp(avg(ln(nullif(c.spread, 0) / nullif(s.spread, 0)))) AS spread,
    exp(avg(ln(c.gradients / s.gradients))) AS gradients, exp(avg(ln(nullif(c.seconds, 0) / nullif(s.seconds, 0)))) AS seconds,
    bool_or(c.packed OR s.packed) AS packed
FROM cells AS c JOIN cells AS s USING (task)
WHERE s.method = 'sgd' AND EXISTS (SELECT 1 FROM final WHERE optimizer_name LIKE 'runge_kutta%')
GROUP BY c.method
ORDER BY gradients, c.method
