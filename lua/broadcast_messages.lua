-- Plain messages that follow one another in a shard, handled as broadcast_message would handle each: those at the
-- head of the stream, up to the first that needs more than delivery to the other members. That one and all behind
-- it are left to broadcast_message. Redis needs half the time for many messages in one script.
--
-- KEYS:
--   requests  imc:{S}:in   stream
--   events    imc:{S}:out  stream
--   ...       imc_members:{S}:ROOM  hash  of each request; then imc_rooms:{S}:ROOM of each, if nicknames are shown
--
-- ARGV:
--   delivery_chunk  recipients per event entry, at most
--   max_recipients  with so many recipients, no further message is handled
--   ...             the requests' ids, in their order
--
-- Returns:
--   (number)  how many of the requests, from the first on, were handled
--
-- Events:
--   message  to all members but the sender; nick: the sender's nickname, if there is one and it is shown
local requests, events = unpack(KEYS)
local members = { unpack(KEYS, 3) }
local delivery_chunk, max_recipients = unpack(ARGV)
local entries = { unpack(ARGV, 3) }
max_recipients = tonumber(max_recipients)
local request
--- @include "emit"
--- @include "may_speak"
--- @include "other_members"

-- All are looked at before anything is written. XTRIM is the first write and deletes the handled ones at once: it frees
-- memory, so Redis accepts it even when memory is full, and refuses none of the writes after it.
local accepted, recipients = {}, 0
for i, entry in ipairs(redis.call("XRANGE", requests, "-", "+", "COUNT", #entries)) do
    request = {}
    for at = 1, #entry[2], 2 do
        request[entry[2][at]] = entry[2][at + 1]
    end
    local is_plain = request.type == "message" and request.from and request.room and not request.operator
    if entry[1] ~= entries[i] or not is_plain or request.from == request.room or recipients >= max_recipients then
        break
    elseif not may_speak(redis.call("HGET", members[i], request.from)) then
        break
    end
    local others, n = other_members(members[i], request.from)
    local room = members[#entries + i]
    local nick = room and redis.call("HGET", room, "nick:" .. request.from)
    accepted[i], recipients = { message = request, to = others, nick = nick }, recipients + n
end
redis.call("XTRIM", requests, "MAXLEN", "=", redis.call("XLEN", requests) - #accepted)
for _, one in ipairs(accepted) do
    request = one.message
    if one.nick then
        emit("message", one.to, "nick", one.nick)
    else
        emit("message", one.to)
    end
end
return #accepted
