-- Inserts a few events; their columns follow as JSON.
INSERT INTO $events ($columns) SETTINGS max_threads = 1 FORMAT JSONCompactColumns
