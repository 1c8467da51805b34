-- Confirmed sessions: their devices have got the ACK, so a BYE in one says that the user leaves (unknown_session). Needs
-- room, and what dialog and device_name give. Gives confirm_session, has_outlived_its_ack.

-- RFC 3261 §13.3.1.4: 64*T1 after its 2xx, a device without an ACK has ended its session; and a second for the way.
local ENDED_MS = 33 * 1000

-- Whether a device that still had the session with this text at a time, in ms since 1970, must have got its ACK.
local function has_outlived_its_ack(text, at)
    local ids = dialog_ids(text or "")
    return ids and ids.state == "accepted" and at - (ids.accepted_at or at) >= ENDED_MS
end

-- After commit. `text` is what the room knows of the device's session.
local function confirm_session(device, text)
    redis.call("HSET", room, "dialog:" .. device, (text:gsub("}$", ',"state":"confirmed"}')))
    redis.call("HDEL", room, "unacknowledged:" .. without_aor(device))
end
