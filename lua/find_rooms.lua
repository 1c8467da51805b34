-- The rooms of a shard that a device can show as group chats and does not: its user is a member, and the device is not in
-- them, or has left because no ACK has reached it. Public rooms have no index of their members, so a page of them is looked
-- through; the first page has the private rooms of the user as well.
--
-- KEYS:
--   rooms          imc_rooms:{S}               sorted set
--   private_rooms  imc:{S}:private_rooms:USER  set
--
-- ARGV:
--   user            address of the user
--   device          its device
--   first           number of the first public room of the page, in the order of addresses
--   count           public rooms of a page
--   members_prefix  imc_members:{S}:
--   devices_prefix  imc_devices:{S}:
--   room_prefix     imc_rooms:{S}:
--   since           when the device has come, in ms since the epoch; 0: it may have been there before
--
-- Returns:
--   (list)  number of public rooms that were looked at, number of rooms to which the user is being asked as a whole, which
--           may not reach this device, then the rooms that were found
local rooms, private_rooms = unpack(KEYS)
local user, device, first, count, members_prefix, devices_prefix, room_prefix, since = unpack(ARGV)
since = assert(tonumber(since), "two numbers, three prefixes and a time")
--- @include "role"
--- @include "asked_lately"
--- @include "unacknowledged"

local page = redis.call("ZRANGE", rooms, 0, 0, "BYSCORE", "LIMIT", first, count)
local reply = { #page, 0 }
for _, address in ipairs(first == "0" and redis.call("SMEMBERS", private_rooms) or {}) do
    page[#page + 1] = address
end
for _, address in ipairs(page) do
    -- a room of a wrong type is none
    local value = redis.pcall("HGET", members_prefix .. address, user)
    if type(value) == "string" and is_inviting(value)
        and redis.pcall("HEXISTS", room_prefix .. address, "left:" .. user) == 1 then
        value = nil -- a chat of two that the user has deleted
    end
    if type(value) == "string" and (is_inviting(value) or is_asked_lately(room_prefix .. address, user, since)) then
        reply[2] = reply[2] + 1
    elseif type(value) == "string" and is_member(value) then
        local present = redis.pcall("HMGET", devices_prefix .. address, device, device .. ";aor")
        local is_there = (present[1] or present[2]) and not has_given_up(room_prefix .. address, device)
        if not is_there and not present.err then
            reply[#reply + 1] = address
        end
    end
end
return reply
