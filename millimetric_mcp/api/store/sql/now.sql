-- The store's own clock, microseconds since 1970.
SELECT toUnixTimestamp64Micro(now64(6, 'UTC'))
