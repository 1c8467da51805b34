-- A plain message goes to every member but its sender who is here, and into the history of the room. Only members
-- may speak, and operators, whose messages are notices, which no history keeps. A sender who was away is back. This is
-- the hot path: it reads the room only for a refusal, and the list of members only for a sender who may speak, so that
-- the time of a refusal does not tell how many members there are. If the other member of a chat of two has deleted the chat, it
-- is invited, and then gets this message.
--
-- KEYS:
--   requests        imc:{S}:in                   stream
--   events          imc:{S}:out                  stream
--   rooms           imc_rooms:{S}                sorted set
--   room            imc_rooms:{S}:ROOM           hash
--   members         imc_members:{S}:ROOM         hash
--   history         imc_history:{S}:ROOM         stream
--   history_off     imc:{S}:history_off          set
--   recent_authors  imc:{S}:authors:ROOM:recent  hash
--   older_authors   imc:{S}:authors:ROOM:older   hash
--
-- ARGV:
--   entry_id         the request's id in requests
--   delivery_chunk   recipients per event entry, at most
--   shows_nicknames  1: events carry the sender's nickname
--   history_max      messages that a room keeps, approximately; 0: none
--   history_age_ms   for how long a room keeps them
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   notice   to all members who are here, an operator's
--   refused  to the sender: unknown_room, not_member
local requests, events, rooms, room, members, history, history_off, recent_authors, older_authors = unpack(KEYS)
local entry_id, delivery_chunk, shows_nicknames, history_max, history_age_ms = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "other_members"
--- @include "say"

local value = redis.call("HGET", members, request.from)
local others, n, apart, has_devices, speaks = {}, 0, nil, false, may_speak(value)
local devices, device_is_away
if request.operator == "1" then
    others, n, apart, has_devices = other_members(members, request.from)
elseif speaks then
    others, n, apart, has_devices = other_members(members, request.from, other_client(request))
end
if has_devices or HERE[value] == "devices" then
    --- @include "other_devices"
    devices, device_is_away = other_devices(devices_of(request.room), request)
end

if not speaks and n == 0 then
    --- @include "refuse"
    return refuse(refusal("member"))
end

assert(shows_nicknames == "0" or shows_nicknames == "1", "shows_nicknames")
history_max, history_age_ms = tonumber(history_max), tonumber(history_age_ms)
assert(history_age_ms, "history_age_ms")
local nick = shows_nicknames == "1" and redis.call("HGET", room, "nick:" .. request.from)
local is_unkept = history_max > 0 and (request.kept_ms == "0" or redis.call("SISMEMBER", history_off, request.room) == 1)
--- @include "member_who_left"
--- @include "bring_back"
local left = speaks and n == 0 and member_who_left(members, room)
commit()
if request.operator == "1" then
    emit("notice", others)
    emit("notice", devices or {}, "client", "device")
    return "done"
end
if left then
    bring_back(room, left)
end
local id = say(others, nick, is_unkept, apart, devices)
if history_max > 0 and not is_unkept then
    --- @include "keep"
    keep(history, id, nick)
end
if request.message_id then
    --- @include "authors"
    remember_author(recent_authors, older_authors)
end
local known = request.cpim and value:match(" (%a+)")
if request.cpim and known ~= "cpim" and known ~= "text" and known ~= "devices" and known ~= "inviting" then
    --- @include "client"
    value = note_client(members, request.from, value, "cpim")
end
local back = device_is_away or is_away(value) and request.from
if speaks and back then
    --- @include "call_back"
    call_back(room, request.room, back, true)
end
return "done"
