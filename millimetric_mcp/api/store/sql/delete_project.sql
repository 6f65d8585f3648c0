-- Deletes every event of a project.
ALTER TABLE $database.$local $on_cluster
DELETE WHERE project_id = {project_id:UInt64}
SETTINGS mutations_sync = 2, distributed_ddl_task_timeout = 600
