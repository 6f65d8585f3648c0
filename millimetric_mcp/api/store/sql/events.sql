SELECT$selected
FROM $events
WHERE $conditions
