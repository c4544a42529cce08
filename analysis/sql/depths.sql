-- Test scores by depth, on the tasks where stable networks ran at two depths or more; other networks that did stand beside them.
WITH scored AS (
    SELECT
        f.task, f.alias, f.optimizer, f.seed, f.metric, (t.network_fields->>'depth')::INTEGER AS depth, f.network_family = 'stable' AS is_stable,
        -- where the length of a layer is fixed, the final time grows with the depth
        if(f.alias = 'fixed_step', regexp_replace(f.network, '\bT=[-+.e0-9]+,?', ''), f.network) AS named,
        replace(replace(regexp_replace(named, '\bdepth=[0-9]+,?', ''), ',)', ')'), '()', '')
            || if(f.alias = 'fixed_step', ', h fixed', '') AS network,
        if(f.failed, if(f.higher_is_better, '-inf'::DOUBLE, 'inf'), f.test_at_best) AS value
    FROM final AS f JOIN trials AS t USING (key)
    WHERE f.alias IN ('', 'depth', 'fixed_step', 'equal_parameters')  -- others are too short to have a score
), several AS (
    SELECT * FROM scored
    WINDOW same AS (PARTITION BY task, alias, network, optimizer)
    QUALIFY min(depth) OVER same < max(depth) OVER same
)
SELECT * EXCLUDE (alias, is_stable, named) FROM several
QUALIFY bool_or(is_stable) OVER (PARTITION BY task)
ORDER BY ALL;
