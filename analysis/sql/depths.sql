-- Test scores by depth, on the tasks where stable networks ran at two depths or more; other networks that did stand beside them.
WITH scored AS (
    SELECT
        f.task, f.alias, f.optimizer, f.seed, f.metric, (t.network_fields->>'depth')::INTEGER AS depth, f.network_family = 'stable' AS is_stable,
        replace(replace(regexp_replace(f.network, '\bdepth=[0-9]+,?', ''), ',)', ')'), '()', '') AS network,
        if(f.failed, if(f.higher_is_better, '-inf'::DOUBLE, 'inf'), f.test_at_best) AS value
    FROM final AS f JOIN trials AS t USING (key)
    WHERE f.alias IN ('', 'depth')  -- under other names trials are too short to have a score
), several AS (
    SELECT * FROM scored
    WINDOW same AS (PARTITION BY task, alias, network, optimizer)
    QUALIFY min(depth) OVER same < max(depth) OVER same
)
SELECT * EXCLUDE (alias, is_stable) FROM several
QUALIFY bool_or(is_stable) OVER (PARTITION BY task)
ORDER BY ALL;
