curl -G "https://api.millimetric.ai/v1/stats" \
  -H "Authorization: Bearer $RK_KEY" \
  --data-urlencode "metric=count" \
  --data-urlencode "event=signup" \
  --data-urlencode "from=2026-05-01T00:00:00Z" \
  --data-urlencode "to=2026-06-01T00:00:00Z" \
  --data-urlencode "group_by=source,medium" \
  --data-urlencode "interval=day"
