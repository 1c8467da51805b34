-- How deliveries of an event ended. Each recipient counts once, however often an edge reports it. A failure is kept in
-- undelivered, unless the recipient is known to be away or was forgotten. If the worker must act on an outcome, it is also
-- appended to the in-stream as a report.
--
-- KEYS:
--   events       imc:{S}:out            stream
--   requests     imc:{S}:in             stream
--   settled      imc:{S}:settled:ENTRY  set
--   undelivered  imc:{S}:undelivered    stream
--
-- ARGV:
--   entry_id         the event's id in events
--   complete         1: all recipients are settled now, the event is deleted
--   settled_ttl_ms   how long the settled recipients of an incomplete event are kept
--   undelivered_max  failures to keep, approximately
--   call_id          Call-ID of the request that caused the event
--   ...              recipient, status, report (1: the worker must act) of each delivery that ended
--
-- Returns:
--   done  recorded
--   gone  the event was complete before: nothing changed
local events, requests, settled, undelivered = unpack(KEYS)
local entry_id, complete, settled_ttl_ms, undelivered_max, call_id = unpack(ARGV)
local outcomes = { unpack(ARGV, 6) }
assert(call_id and #outcomes % 3 == 0, "an outcome is recipient, status, report")
settled_ttl_ms, undelivered_max = math.max(1, tonumber(settled_ttl_ms)), math.max(0, tonumber(undelivered_max))

--- @include "forgotten"

redis.call("XLEN", requests) -- is a stream
redis.call("XLEN", undelivered)
redis.call("SCARD", settled) -- is a set
local entry = redis.call("XRANGE", events, entry_id, entry_id)[1]
if not entry then
    return "gone"
end
local event = {}
for i = 1, #entry[2], 2 do
    event[entry[2][i]] = entry[2][i + 1]
end

-- The first write: Redis accepts it even when memory is full, and after it all the others.
if complete == "1" then
    redis.call("XDEL", events, entry_id)
else
    redis.call("PEXPIRE", settled, settled_ttl_ms)
end

local function outcome_of(recipient, status)
    local fields = { "event", event.event or "", "from", recipient, "room", event.room or "" }
    for _, more in ipairs({ "user", event.from or "", "status", status, "of", entry_id }) do
        fields[#fields + 1] = more
    end
    return fields
end

-- A message's data is left out: its body must not be copied once for each member who is away.
local function write_report(fields)
    local data = event.data or ""
    if event.event == "message" or event.event == "idle" then
        data = ""
        local about = event.event == "idle" and event.since
        for _, more in ipairs({ "history_id", event.history_id or about or entry_id, "catch_up", event.catch_up or "" }) do
            fields[#fields + 1] = more
        end
    elseif event.event == "bye" or event.event == "you_were_dropped" then
        for _, more in ipairs({ "dialog", event.dialog or "", "catch_up", event.catch_up or "" }) do
            fields[#fields + 1] = more
        end
    end
    redis.call("XADD", requests, "*", "type", "delivery_report", "data", data, unpack(fields))
end

for i = 1, #outcomes, 3 do
    local recipient, status, report = outcomes[i], outcomes[i + 1], outcomes[i + 2]
    if redis.call("SADD", settled, recipient) == 1 then
        local fields = outcome_of(recipient, status)
        local is_known = status == "away" or status == "withdrawn" or event.catch_up == "probe"
        if status:sub(1, 1) ~= "2" and not is_known and not is_forgotten(recipient) and not is_forgotten(event.from or "") then
            redis.call("XADD", undelivered, "MAXLEN", "~", undelivered_max, "*", "call_id", call_id, unpack(fields))
        end
        if report == "1" then
            write_report(fields)
        end
    end
end
if complete == "1" then
    redis.call("DEL", settled)
else
    redis.call("PEXPIRE", settled, settled_ttl_ms)
end
return "done"
