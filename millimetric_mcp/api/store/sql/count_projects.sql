-- How many events each project has.
SELECT project_id, count()
FROM $database.$events
GROUP BY project_id
