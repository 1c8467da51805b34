-- Plain messages that follow one another in their shards, handled as broadcast_message would handle each: those at the
-- head of a stream, up to the first that needs more than delivery to the other members. That one and all behind
-- it are left to broadcast_message. Redis needs half the time for many messages in one script, and less for many shards
-- in one. The keys of their rooms are made here: passing them would cost more.
--
-- KEYS:
--   requests     imc:{S}:in           stream
--   events       imc:{S}:out          stream
--   history_off  imc:{S}:history_off  set
--   ...          these three of each further shard
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
--   ...              the requests' ids, in their order; for each further shard an empty text, its four prefixes, and
--                    the ids of its requests
--
-- Returns:
--   (numbers)  for each shard, how many of its requests, from the first on, were handled
local requests, events, history_off = unpack(KEYS)
local further = { unpack(KEYS, 4) }
local delivery_chunk, max_recipients, history_max, history_age_ms, shows_nicknames, members_prefix, history_prefix, room_prefix, authors_prefix = unpack(ARGV)
local parts, first = ARGV, 10
max_recipients, history_max, history_age_ms = tonumber(max_recipients), tonumber(history_max), tonumber(history_age_ms)
assert(authors_prefix and (shows_nicknames == "0" or shows_nicknames == "1"), "shows_nicknames and four prefixes")
local request
--- @include "emit"
--- @include "may_speak"
--- @include "other_members"
--- @include "other_devices"
--- @include "member_who_left"
--- @include "say"
--- @include "keep"
--- @include "authors"

-- Of each shard its keys and prefixes, and where in parts the ids of its requests begin and end.
local shard = { requests, events, history_off, members_prefix, history_prefix, room_prefix, authors_prefix, from = first }
local shards = { shard }
for i = first, #parts do
    if parts[i] == "" then
        local key = 3 * #shards - 2
        shard.to = i - 1
        shard = { further[key], further[key + 1], further[key + 2], unpack(parts, i + 1, i + 4) }
        shard.from = i + 5
        shards[#shards + 1] = shard
    end
end
shard.to = #parts
assert(#further == 3 * #shards - 3, "three keys for each shard")

-- All that follows, emit and keep too, is about this shard.
local function turn_to(shard)
    requests, events, history_off, members_prefix, history_prefix, room_prefix, authors_prefix = unpack(shard)
end

-- The messages that are handled, of all shards. All are looked at before anything is written.
local accepted, rooms, others, apart, devices, nicks, count, recipients = {}, {}, {}, {}, {}, {}, 0, 0

-- Whether `request` is handled.
local function accept()
    local from, room = request.from, request.room
    local is_plain = request.type == "message" and from and room and not request.operator
    if not is_plain or from == room or recipients >= max_recipients then
        return false
    end
    local members = members_prefix .. room
    local here = HERE[redis.call("HGET", members, from)]
    if not here then -- may not speak, or is back and gets what it missed
        return false
    elseif request.cpim and here == true then -- the first one of this member: the client is noted
        return false
    end
    local i, to_devices, own_is_away = count + 1, nil, nil
    local to, n, to_apart, has_devices = other_members(members, from, other_client(request))
    if has_devices or here == "devices" then
        to_devices, own_is_away = other_devices(devices_of(room), request)
        if own_is_away then
            return false
        end
    end
    if n == 0 and member_who_left(members, room_prefix .. room) then
        return false
    end
    nicks[i] = shows_nicknames == "1" and redis.call("HGET", room_prefix .. room, "nick:" .. from)
    accepted[i], rooms[i], others[i], apart[i], devices[i] = request, room, to, to_apart, to_devices
    count, recipients = i, recipients + n
    return true
end

for n, shard in ipairs(shards) do
    if n > 1 then
        turn_to(shard)
        redis.call("XLEN", events) -- is a stream
    end
    shard.first = count + 1
    for i, entry in ipairs(redis.call("XRANGE", requests, "-", "+", "COUNT", shard.to - shard.from + 1)) do
        local fields = entry[2]
        request = { type = false, from = false, room = false, data = false } -- made with room: to grow it takes longer
        for at = 1, #fields, 2 do
            request[fields[at]] = fields[at + 1]
        end
        if request.message_id then -- what asks for receipts is in CPIM
            request.cpim = request.cpim or request.message_id -- not for each: to assign nil would make the table grow
        end
        if entry[1] ~= parts[shard.from + i - 1] or not accept() then
            break
        end
    end
    shard.last = count
    shard.is_off = history_max > 0 and count >= shard.first and redis.call("SMISMEMBER", history_off, unpack(rooms, shard.first, count))
end

local handled = {}
for n, shard in ipairs(shards) do
    turn_to(shard)
    handled[n] = shard.last - shard.first + 1
    -- The first write deletes the handled requests at once: it frees memory, so Redis accepts it even when memory is full,
    -- and refuses none of the writes after it.
    redis.call("XTRIM", requests, "MAXLEN", "=", redis.call("XLEN", requests) - handled[n])
    for i = shard.first, shard.last do
        request = accepted[i]
        local is_off = shard.is_off
        local is_unkept = is_off and (is_off[i - shard.first + 1] == 1 or request.kept_ms == "0")
        local id = say(others[i], nicks[i], is_unkept, apart[i], devices[i])
        if is_off and not is_unkept then
            keep(history_prefix .. rooms[i], id, nicks[i])
        end
        if request.message_id then
            local authors = authors_prefix .. rooms[i]
            remember_author(authors .. ":recent", authors .. ":older")
        end
    end
end
return handled
