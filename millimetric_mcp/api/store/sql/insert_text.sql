-- What a few events are written with; their columns follow as text.
INSERT INTO $events ($columns) SETTINGS max_threads = 1 FORMAT JSONCompactColumns
