-- What a few events are written with; their columns follow as text.
INSERT INTO $events ($columns) FORMAT JSONCompactColumns
