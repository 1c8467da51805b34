-- Devices that have not seen the latest changes of their room get one NOTIFY each, with all of them together. Who has a
-- NOTIFY in flight gets the next one after its report (settle_notify), and who is away, or has missed one, when it is back.
-- If the last NOTIFY got lost, as with an edge's dead letters, the next one is full: a partial one may be for a version
-- that the device does not have. An edge asks for it, not more than once a second and room, with the id of the event
-- roster, which ends here.
--
-- KEYS:
--   events   imc:{S}:out           stream
--   room     imc_rooms:{S}:ROOM    hash
--   members  imc_members:{S}:ROOM  hash
--
-- ARGV:
--   entry_id  id of the event roster in events
--   address   the room
--
-- Returns:
--   (number)  how many devices are notified of changes
--   gone      the event was handled before: nothing changed
local events, room, members = unpack(KEYS)
local entry_id, address = unpack(ARGV)
local delivery_chunk, request = 1, { room = address, from = address }
assert(address, "address")
--- @include "emit"
--- @include "role"
--- @include "roster"
--- @include "notify"
--- @include "now"
--- @include "reported"
local reported

-- Whether the NOTIFY with this id is in flight, or its report waits for a worker.
local function is_under_way(id)
    if #redis.call("XRANGE", events, id, id) > 0 then
        return true
    end
    reported = reported or reported_events()
    return reported[id] ~= nil
end

if #redis.call("XRANGE", events, entry_id, entry_id) == 0 then
    return "gone"
end
redis.call("HLEN", members)
local pending, rev = unpack(redis.call("HMGET", room, "roster", "rev"))
rev = tonumber(rev) or 0
local due, ended, all = {}, {}, redis.call("HGETALL", devices)
for i = 1, #all, 2 do
    local device, subscription = all[i], subscription_of(all[i])
    if subscription and subscription.expires_at <= now then
        ended[#ended + 1] = { device, subscription }
    elseif subscription and all[i + 1] == "device" and subscription.rev < rev and subscription.missed ~= true then
        if subscription.pending == "" or not is_under_way(subscription.pending) then
            due[#due + 1] = { device, subscription }
        end
    end
end

redis.call("XDEL", events, entry_id)
if pending == entry_id then
    redis.call("HDEL", room, "roster")
end
for _, each in ipairs(ended) do
    expire_subscription(each[1], each[2])
end
for _, each in ipairs(due) do
    notify(each[1], each[2], "")
end
return #due
