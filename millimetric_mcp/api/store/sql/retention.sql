-- Removes a project's events from days before the first one kept.
ALTER TABLE $local $on_cluster
DELETE WHERE project_id = {project_id:UInt64} AND toDate(timestamp) < {first_day:Date}
SETTINGS mutations_sync = 2
