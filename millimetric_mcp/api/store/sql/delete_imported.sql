-- Deletes the events that a range of an import's parts brought.
ALTER TABLE $database.$local $on_cluster
DELETE WHERE project_id = {project_id:UInt64}
    AND import_part >= {first_part:UInt64} AND import_part <= {last_part:UInt64}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600
