-- A typing notification (RFC 3994) goes to the other members who are here. In an interval they get one "active" of a sender
-- at most, and each change to "idle" at once: without it they would see somebody typing until the refresh interval ends,
-- 60 s or more (RFC 3994 §3.2). A notification is never kept and never refused: what comes too often, or from somebody who
-- is no member, is discarded.
--
-- KEYS:
--   requests  imc:{S}:in                  stream
--   events    imc:{S}:out                 stream
--   rooms     imc_rooms:{S}               sorted set
--   room      imc_rooms:{S}:ROOM          hash
--   members   imc_members:{S}:ROOM        hash
--   typing    imc:{S}:typing:ROOM:SENDER  string
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   interval_ms     time between two notifications of one sender that somebody types, at least
--
-- Returns:
--   done   the request was handled
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   typing  to the other members who are here; client: the kind of client of all recipients, if they need the
--           notification in another form
local requests, events, rooms, room, members, typing = unpack(KEYS)
local entry_id, delivery_chunk, interval_ms = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "may_speak"
--- @include "other_members"
--- @include "other_devices"
--- @include "client"

assert(tonumber(interval_ms) > 0, "interval_ms")
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room) -- is a hash
local before = redis.call("GET", typing) -- is a string
local others, n, apart, has_devices, devices = nil, 0, nil, false, nil
local value = redis.call("HGET", members, request.from)
if may_speak(value) then
    others, n, apart, has_devices = other_members(members, request.from, other_client(request))
    devices = (has_devices or HERE[value] == "devices") and other_devices(devices_of(request.room), request)
end
commit()
note_cpim(members, request, value)
-- In the key: what the members got in this interval; "both": active, then idle.
local state = request.detail == "idle" and "idle" or "active"
local is_news = not before or (state == "active" and before == "idle") or (state == "idle" and before == "active")
if n > 0 and is_news then
    if before then
        redis.call("SET", typing, state == "idle" and "both" or state, "KEEPTTL")
    else
        redis.call("SET", typing, state, "PX", interval_ms)
    end
    emit("typing", others)
    if apart then
        emit("typing", apart, "client", other_client(request))
    end
    emit("typing", devices or {}, "client", "device")
end
return "done"
