-- What a run is and where it ran: every distinct value of what should be one.
SELECT
    count(*) AS trials,
    list(DISTINCT grid ORDER BY grid) AS grid, list(DISTINCT device ORDER BY device) AS device,
    list(DISTINCT threads ORDER BY threads) AS threads, list(DISTINCT torch ORDER BY torch) AS torch,
    list(DISTINCT "commit" ORDER BY "commit") AS "commit", list(DISTINCT host ORDER BY host) AS host,
    list(DISTINCT budget_factor ORDER BY budget_factor) FILTER (stage = 'eval') AS budget_factor,
    make_timestamp(epoch_us(min(started)))::VARCHAR AS first, make_timestamp(epoch_us(max(started)))::VARCHAR AS last  -- UTC
FROM trials;
