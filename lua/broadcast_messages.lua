-- Plain messages that follow one another in a shard, handled as broadcast_message would handle each: those at the
-- head of the stream, up to the first that needs more than delivery to the other members. That one and all behind
-- it are left to broadcast_message. Redis needs half the time for many messages in one script. The keys of their
-- rooms are made here: passing them would cost more.
--
-- KEYS:
--   requests     imc:{S}:in           stream
--   events       imc:{S}:out          stream
--   history_off  imc:{S}:history_off  set
--
-- ARGV:
--   delivery_chunk   recipients per event entry, at most
--   max_recipients   with so many recipients, no further message is handled
--   history_max      messages that a room keeps, approximately; 0: none
--   history_age_ms   for how long a room keeps them
--   shows_nicknames  1: events carry the sender's nickname
--   members_prefix   imc_members:{S}:
--   history_prefix   imc_history:{S}:
--   room_prefix      imc_rooms:{S}:
--   authors_prefix   imc:{S}:authors:
--   ...              the requests' ids, in their order
--
-- Returns:
--   (number)  how many of the requests, from the first on, were handled
local requests, events, history_off = unpack(KEYS)
local delivery_chunk, max_recipients, history_max, history_age_ms, shows_nicknames, members_prefix, history_prefix, room_prefix, authors_prefix = unpack(ARGV)
local entries = { unpack(ARGV, 10) }
max_recipients, history_max, history_age_ms = tonumber(max_recipients), tonumber(history_max), tonumber(history_age_ms)
assert(authors_prefix and (shows_nicknames == "0" or shows_nicknames == "1"), "shows_nicknames and four prefixes")
local request
--- @include "emit"
--- @include "may_speak"
--- @include "other_members"
--- @include "other_devices"
--- @include "say"
--- @include "keep"
--- @include "authors"

-- All are looked at before anything is written.
local accepted, rooms, others, apart, devices, nicks, recipients = {}, {}, {}, {}, {}, {}, 0
for i, entry in ipairs(redis.call("XRANGE", requests, "-", "+", "COUNT", #entries)) do
    local fields = entry[2]
    request = { type = false, from = false, room = false, data = false } -- made with room: to grow it takes longer
    for at = 1, #fields, 2 do
        request[fields[at]] = fields[at + 1]
    end
    if request.message_id then -- what asks for receipts is in CPIM
        request.cpim = request.cpim or request.message_id -- not for each: to assign nil would make the table grow
    end
    local from, room = request.from, request.room
    local is_plain = request.type == "message" and from and room and not request.operator
    if entry[1] ~= entries[i] or not is_plain or from == room or recipients >= max_recipients then
        break
    end
    local members = members_prefix .. room
    local here = HERE[redis.call("HGET", members, from)]
    if not here then -- may not speak, or is back and gets what it missed
        break
    elseif request.cpim and here == true then -- the first one of this member: the client is noted
        break
    end
    local n, has_devices, own_is_away
    others[i], n, apart[i], has_devices = other_members(members, from, other_client(request))
    if has_devices or here == "devices" then
        devices[i], own_is_away = other_devices(devices_of(room), request)
        if own_is_away then
            break
        end
    end
    nicks[i] = shows_nicknames == "1" and redis.call("HGET", room_prefix .. room, "nick:" .. from)
    accepted[i], rooms[i], recipients = request, room, recipients + n
end
local is_off = history_max > 0 and #rooms > 0 and redis.call("SMISMEMBER", history_off, unpack(rooms))

-- The first write deletes the handled requests at once: it frees memory, so Redis accepts it even when memory is full,
-- and refuses none of the writes after it.
redis.call("XTRIM", requests, "MAXLEN", "=", redis.call("XLEN", requests) - #accepted)
for i = 1, #accepted do
    request = accepted[i]
    local is_unkept = is_off and (is_off[i] == 1 or request.kept_ms == "0")
    local id = say(others[i], nicks[i], is_unkept, apart[i], devices[i])
    if is_off and not is_unkept then
        keep(history_prefix .. rooms[i], id, nicks[i])
    end
    if request.message_id then
        local authors = authors_prefix .. rooms[i]
        remember_author(authors .. ":recent", authors .. ":older")
    end
end
return #accepted
