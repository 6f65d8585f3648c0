curl -X POST http://localhost:8787/v1/track \
  -H "Authorization: Bearer $PK_KEY" \
  -H "Origin: http://localhost:5173" \
  -H "Content-Type: application/json" \
  -d '{ "event": "$pageview", "anonymous_id": "u_test", "url": "https://yoursite.com/?fbclid=abc" }'
