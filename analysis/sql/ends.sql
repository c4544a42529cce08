-- How the trials of each stage ended.
SELECT stage, status, count(*) AS n FROM trials GROUP BY ALL ORDER BY stage, n DESC, status;
