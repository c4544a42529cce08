-- Certificates that failed, and how many there are.
SELECT
    family, "check", quantity, value, low, high,
    (SELECT count(*) FROM certificates) AS certificates
FROM certificates WHERE NOT passed
ORDER BY ALL;
