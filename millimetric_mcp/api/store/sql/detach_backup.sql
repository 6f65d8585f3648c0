-- The backup's files stay.
DROP DATABASE IF EXISTS millimetric_backup
