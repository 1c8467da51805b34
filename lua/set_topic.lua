-- An owner or admin sets the topic of the room, or a member is told what it is.
--
-- KEYS:
--   requests  imc:{S}:in            stream
--   events    imc:{S}:out           stream
--   rooms     imc_rooms:{S}         sorted set
--   room      imc_rooms:{S}:ROOM    hash
--   members   imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   topic_set  to all members; text: the topic
--   topic      to the sender; text: the topic
--   no_topic   to the sender
--   refused    to the sender: unknown_room, not_member, admins_only
local requests, events, rooms, room, members = unpack(KEYS)
local entry_id, delivery_chunk = unpack(ARGV)
--- @include "request"
--- @include "refuse"
--- @include "roster"

local text = request.text
local reason = refusal(text and "admin" or "member")
if reason then
    return refuse(reason)
end

local topic = redis.call("HGET", room, "topic")
commit()
if text then
    redis.call("HSET", room, "topic", text)
    record("*subject")
    tell("topic_set", { request.from }, here(RANK), "text", text)
elseif topic then
    emit("topic", { request.from }, "text", topic)
else
    emit("no_topic", { request.from })
end
return "done"
