-- Deletes a project's events from days before the first one kept.
ALTER TABLE $database.$local $on_cluster
DELETE WHERE project_id = {project_id:UInt64} AND toDate(timestamp) < {first_day:Date}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600
