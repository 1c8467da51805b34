-- A device that was invited and was not there. Its user stays a member. The field `missed_invite:DEVICE` of the room's hash has
-- the time of the first such INVITE, in ms since 1970, and the device is in away_rooms. A probe of its user leads to another
-- INVITE, and a sign of the user makes the probe due (call_all_back). After RETRIED_MS, the device is invited only when it
-- registers, or by `#open`. Needs events and what now and device_name give. Gives missed_invite_at,
-- is_invited_later, invite_device_again.

-- Phones register about once an hour. One that is off for longer registers when it is on again.
local RETRIED_MS = 3600 * 1000

-- `key` is the key of the room. Nil or false: `who` has missed none.
local function missed_invite_at(key, who)
    return is_device(who) and tonumber(redis.call("HGET", key, "missed_invite:" .. who) or nil)
end

-- Whether a device that has missed its first INVITE at this time is still invited by probes. The time may be of a clock that was
-- ahead.
local function is_invited_later(at)
    return math.abs(now - at) < RETRIED_MS
end

-- After the first write. What else has to hold is looked at when a worker comes to it (invite_device).
local function invite_device_again(address, device)
    local fields = { "from", user_of(device), "room", address, "device", device, "data", "" }
    redis.call("XADD", (events:gsub(":out$", ":in")), "*", "type", "invite_device", unpack(fields))
end
