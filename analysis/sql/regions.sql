-- Predictions on a grid of inputs, of the first seed of each method whose trial went on to its end.
WITH drawn AS (
    SELECT f.task, f.network, f.optimizer, f.key, f.test_at_best AS score, f.metric, f.higher_is_better
    FROM final AS f
    WHERE f.key IN (SELECT key FROM metrics WHERE split = 'probe' AND name = 'decision_regions.p_0_0') AND NOT f.failed
        AND f.alias IN ('', 'depth')
    QUALIFY row_number() OVER (PARTITION BY f.task, f.network, f.optimizer ORDER BY f.seed, f.key) = 1
)
SELECT
    d.task, d.network, d.optimizer, d.metric, d.score, if(d.higher_is_better, -d.score, d.score) AS place,
    regexp_extract(m.name, '_([0-9]+)_[0-9]+$', 1)::INTEGER AS i, regexp_extract(m.name, '_([0-9]+)$', 1)::INTEGER AS j, m.value
FROM drawn AS d JOIN metrics AS m USING (key)
WHERE m.split = 'probe' AND m.name LIKE 'decision\_regions.p\_%' ESCAPE '\'
ORDER BY task, place, network, optimizer, i, j;
