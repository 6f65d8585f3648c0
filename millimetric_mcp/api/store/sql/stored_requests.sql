-- Which arrivals of a time have events, in microseconds since 1970.
SELECT DISTINCT toUnixTimestamp64Micro(received_at)
FROM $events
WHERE received_at >= fromUnixTimestamp64Micro({first_us:Int64}, 'UTC')
    AND received_at <= fromUnixTimestamp64Micro({last_us:Int64}, 'UTC')
