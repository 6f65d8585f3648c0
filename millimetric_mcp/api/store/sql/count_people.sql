-- How many events delete_people.sql deletes in each project.
SELECT project_id, count()
FROM $events
WHERE $people
GROUP BY project_id
