-- When the newest event arrived, in microseconds since 1970; 0 without events. Read from the parts'
-- ranges, not from rows.
SELECT toUnixTimestamp64Micro(max(received_at)) FROM $events
