-- Devices whose sessions end because no ACK reaches them: a proxy loses it. The field `unacknowledged:DEVICE` of the room's hash,
-- with the name without ";aor", counts these sessions, until an ACK arrives or the user leaves. Gives count_unacknowledged,
-- has_given_up.

-- So often the device is invited again at once. After that, it is invited when it registers, or by `#open`.
local MAX_UNACKNOWLEDGED = 3

-- After commit. One more; returns whether the device is invited again.
local function count_unacknowledged(device)
    return redis.call("HINCRBY", room, "unacknowledged:" .. device, 1) <= MAX_UNACKNOWLEDGED
end

-- `room` is the key of a room in which the device is. Whether it shows that room as left.
local function has_given_up(room, device)
    local count = redis.pcall("HGET", room, "unacknowledged:" .. device)
    return type(count) == "string" and tonumber(count) > MAX_UNACKNOWLEDGED
end
