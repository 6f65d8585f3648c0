curl -X POST https://api.millimetric.ai/v1/batch \
  -H "Authorization: Bearer $SK_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "events": [
      { "event": "$pageview", "anonymous_id": "u_a", "url": "https://yoursite.com/?utm_source=facebook&utm_medium=cpc" },
      { "event": "signup",     "anonymous_id": "u_a", "user_id": "user_1" }
    ]
  }'
