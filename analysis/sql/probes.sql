-- What probes measured first and last in each evaluated trial; networks that were looked at as they start come first instead.
SELECT
    f.task, if(f.alias = 'init', NULL, f.optimizer) AS optimizer, f.seed, (t.network_fields->>'depth')::INTEGER AS depth,
    -- one network at all depths: its label without the depth
    replace(replace(regexp_replace(f.network, '\bdepth=[0-9]+,?', ''), ',)', ')'), '()', '') AS network,
    m.name, m.value,
    m.step = min(m.step) OVER trial
        AND (f.alias = 'init' OR NOT bool_or(f.alias = 'init') OVER (PARTITION BY m.name)) AS is_first,
    m.step = max(m.step) OVER trial AND m.step > min(m.step) OVER trial AND f.alias <> 'init' AS is_last
FROM metrics AS m JOIN final AS f USING (key) JOIN trials AS t USING (key)
WHERE m.split = 'probe' AND m.name IN (SELECT unnest($names)) AND f.alias IN ('', 'depth', 'init')
WINDOW trial AS (PARTITION BY m.key, m.name)
QUALIFY is_first OR is_last
ORDER BY ALL;
