-- Subscriptions to the roster of a room whose time is over are removed. The janitor asks for it: a room in which nothing
-- changes has no other reason to look at them (notify_devices).
--
-- KEYS:
--   events   imc:{S}:out           stream
--   room     imc_rooms:{S}:ROOM    hash
--   members  imc_members:{S}:ROOM  hash
--
-- ARGV:
--   address  the room
--
-- Returns:
--   (number)  how many were removed
local events, room, members = unpack(KEYS)
local address = unpack(ARGV)
local delivery_chunk, request = 1, { room = assert(address, "address"), from = address }
--- @include "emit"
--- @include "role"
--- @include "roster"
--- @include "notify"
--- @include "now"

redis.call("HLEN", members)
local expired, start = {}, "subscription:"
for _, field in ipairs(redis.call("HKEYS", room)) do
    local device = field:sub(1, #start) == start and field:sub(#start + 1)
    local subscription = device and subscription_of(device)
    if subscription and subscription.expires_at <= now then
        expired[#expired + 1] = { device, subscription }
    end
end
for _, each in ipairs(expired) do
    expire_subscription(each[1], each[2])
end
return #expired
