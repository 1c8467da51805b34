-- A room of another system is imported with its members. A room that exists keeps what it has and gets the members
-- it lacks; a second run changes nothing. What such a room kept before is not shown to its new members, unless the room says
-- otherwise.
--
-- KEYS:
--   rooms    imc_rooms:{S}         sorted set
--   room     imc_rooms:{S}:ROOM    hash
--   members  imc_members:{S}:ROOM  hash
--   events   imc:{S}:out           stream
--
-- ARGV:
--   address               the room
--   private               1: a private room
--   owner                 its first owner
--   created_at            ms since the epoch
--   private_rooms_prefix  imc:{S}:private_rooms:
--   owned_rooms_prefix    imc:{S}:owned_rooms:
--   ...                   member, role of each member, and of the invited
--
-- Returns:
--   made       the room is new
--   completed  it existed, and members were added
--   unchanged  it existed with all these members
--   differs    it exists, but one is private and the other public: nothing changed
local rooms, room, members, events = unpack(KEYS)
local address, private, owner, created_at, private_rooms_prefix, owned_rooms_prefix = unpack(ARGV)
local arguments, first_member = ARGV, 7

--- @include "without_port"
--- @include "place_now"

assert(#arguments > first_member and #arguments % 2 == 0, "a room has members, each with a role")
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("XLEN", events) -- is a stream
local there = redis.call("HGET", room, "private")
if there and there ~= private then
    return "differs"
end

local added, owned_by, hidden_from = {}, {}, {}
for i = first_member, #arguments, 2 do
    local member, role = arguments[i], arguments[i + 1]
    if redis.call("HEXISTS", members, member) == 0 then
        added[#added + 1] = { member, role }
        if role == "owner" then
            owned_by[#owned_by + 1] = owned_rooms_prefix .. without_port(member)
            redis.call("SCARD", owned_by[#owned_by]) -- is a set
        end
        if private == "1" and role ~= "invited" then
            hidden_from[#hidden_from + 1] = private_rooms_prefix .. member
            redis.call("SCARD", hidden_from[#hidden_from]) -- is a set
        end
    end
end
if there and #added == 0 then
    return "unchanged"
end

redis.call("HSETNX", room, "private", private)
redis.call("HSETNX", room, "owner", owner)
redis.call("HSETNX", room, "created_at", created_at)
redis.call("ZADD", rooms, private, address)
-- A position behind all that the room has kept.
local joined
if there then
    joined = place_now()
end
for _, pair in ipairs(added) do
    local member, role = pair[1], pair[2]
    redis.call("HSET", members, member, role)
    if joined and role ~= "invited" then
        redis.call("HSET", room, "joined:" .. member, joined)
    end
end
for _, index in ipairs(owned_by) do
    redis.call("SADD", index, address)
end
for _, index in ipairs(hidden_from) do
    redis.call("SADD", index, address)
end
return there and "completed" or "made"
