-- The length of the layers of a trained network over the largest stable one, of the worst layer of each evaluated trial.
SELECT
    f.task, f.optimizer, f.network, f.seed, (t.network_fields->>'depth')::INTEGER AS depth,
    replace(replace(regexp_replace(f.network, '\bdepth=[0-9]+,?', ''), ',)', ')'), '()', '') AS form,
    t.stability_margin AS margin
FROM final AS f JOIN trials AS t USING (key)
WHERE t.stability_margin IS NOT NULL AND NOT isnan(t.stability_margin) AND f.alias IN ('', 'depth')
ORDER BY ALL;
