-- Whether a BYE says that the user leaves the room. Needs room, request, entry_id, and what dialog and invite give. Gives
-- unknown_session.
--- @include "device"
--- @include "device_name"

-- RFC 3261 §13.3.1.4: 32 s after its 2xx, a client without an ACK ends the session by BYE; a second is for the way, and
-- the BYE may take as long again. A session that is older has its ACK, though nobody has confirmed that.
local WITHOUT_ACK_MS, CONFIRMED_MS = 31 * 1000, 120 * 1000
-- How long after its event an INVITE may reach a device: RFC 3261 §17.1.1.2, at two targets.
local REINVITED_MS = 64 * 1000

-- Whether the INVITE with this id, which was sent to the user while the device was in the room, may just have reached the
-- device: the client then ends its session, and accepts.
local function is_reinvited(id)
    return (id or "") ~= "" and (is_pending(id) or entry_id:match("^%d+") - id:match("^%d+") < REINVITED_MS)
end

-- Whether the INVITE with this id may be sent to the device again by another edge: the client ends its session then. If a
-- proxy has named several devices in place of their user, the event stays until all have responded. Those that have accepted
-- are recorded.
local function may_be_repeated(id, device)
    local is_recorded = redis.pcall("SISMEMBER", (events:gsub(":out$", ":settled:")) .. id, device) == 1
    return not is_recorded and #redis.call("XRANGE", events, id, id) > 0
end

-- Whether the device has ended its session to accept another INVITE, and has now ended the session by that one as well: nobody
-- has reported it, so there was no ACK.
local function has_no_session(text)
    local id = (dialog_ids(text or "") or {}).ended_for
    return not text or (id ~= nil and entry_id:match("^%d+") - id:match("^%d+") >= WITHOUT_ACK_MS)
end

-- Of the session of this BYE. Returns
--   whether it is none by which the user is in the room: the BYE does not say that the user leaves. It is of an earlier stay of
--     the user. Or its ACK did not arrive, because the edge is gone that has sent the INVITE: a client ends such a session
--     after a while, or when it accepts another INVITE
--   what the room calls its device, if that is in the room without a session now
--   a device whose session is another one now, or has ended, and the text of that session
local function unknown_session()
    local devices, ids = devices_of(request.room), dialog_ids(request.dialog or "")
    local without_session, count, ended = nil, 0, nil
    for _, device in ipairs(redis.call("HKEYS", devices)) do
        if user_of(device) == request.from then
            local text = redis.call("HGET", room, "dialog:" .. device)
            local known, other = dialog_ids(text or ""), after_bye(text or "", ids or {})
            if is_leaving(text or "", ids or {}) then
                return false
            elseif other then
                return true, nil, device, other
            elseif same_dialog(known, ids) then
                local own = known.repeated or redis.call("HGET", room, "invitation:" .. without_aor(device))
                local accepts = is_reinvited(known.reinvited) and known.reinvited or own and is_pending(own) and own
                if accepts then
                    return true, nil, device, with_end(text, accepts)
                elseif known.state ~= "accepted" then
                    return false
                elseif (known.of or "") ~= "" and may_be_repeated(known.of, without_aor(device)) then
                    return true, nil, device, with_end(text, known.of)
                end
                local age = entry_id:match("^%d+") - (known.accepted_at or 0)
                return age >= WITHOUT_ACK_MS and age < CONFIRMED_MS, device
            elseif not text then
                without_session, count = device, count + 1
            elseif has_no_session(text) then
                ended = device
            end
        end
    end
    local named = device_in(devices, request.device)
    if not request.device then
        -- Invited by its user's address, a device does not name itself. If several have ended a session, each sends such a BYE.
        named = ended or count == 1 and without_session or nil
    end
    return true, named and has_no_session(redis.call("HGET", room, "dialog:" .. named)) and named or nil
end
