-- The report of a NOTIFY: the device has seen the changes, or has no such subscription any more, or is not there. In the
-- last case its next NOTIFY is full, and is sent when the user is back. A device that has no such subscription, and has come by
-- it or has accepted no NOTIFY yet, does not show the room: it is invited. So is one that has accepted none and refuses a
-- message, of which this may be the report, too. A session that its device still has so late is confirmed. `from` is the
-- device, `of` the id of the event.
--
-- KEYS:
--   requests     imc:{S}:in               stream
--   events       imc:{S}:out              stream
--   rooms        imc_rooms:{S}            sorted set
--   room         imc_rooms:{S}:ROOM       hash
--   members      imc_members:{S}:ROOM     hash
--   away_rooms   imc:{S}:away_rooms:FROM  set
--   probes       imc:{S}:probes           sorted set
--   probe_waits  imc:{S}:probe_waits      hash
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   first_wait_ms   until the first probe
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
local requests, events, rooms, room, members, away_rooms, probes, probe_waits = unpack(KEYS)
local entry_id, delivery_chunk, first_wait_ms = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "roster"
--- @include "dismiss"
--- @include "invite"
--- @include "readmit"
--- @include "confirm"
--- @include "away_rooms"
--- @include "first_probe"
--- @include "user_online"

-- RFC 6665 §4.2.2, without those that registrars send for a phone that is switched off.
local ENDED = { ["405"] = true, ["481"] = true, ["489"] = true }
-- Hundredths of seconds by which the CSeq numbers of a subscription are lifted after a 500: a failover has led to a server
-- whose clock is behind (imc_edge/delivering/sequence_numbers.py). From 10 s to a day.
local FIRST_LIFT, MAX_LIFT = 1000, 10000000
-- Outcomes that say that nobody is there: those of imc_common/rooms/delivery_reports.py without 500, which a lift may mend.
local NOBODY = {
    ["404"] = true, ["408"] = true, ["410"] = true, ["430"] = true, ["473"] = true, ["474"] = true,
    ["475"] = true, ["476"] = true, ["477"] = true, ["478"] = true, ["479"] = true, ["480"] = true,
    ["502"] = true, ["503"] = true, ["504"] = true, ["604"] = true, ["no-target"] = true, ["surplus"] = true, ["away"] = true,
}

-- After commit. The device is away as far as NOTIFY requests are concerned: whatever shows that its user is back leads here.
local function wait_for_return(device)
    redis.call("SADD", away_rooms, away_room(request.room, device))
    plan_first_probe(user_of(device))
end

-- So many sessions of a device in a row, in which it accepts no NOTIFY, end in this way.
local MAX_UNSHOWN = 3

-- After commit. A device that does not know its subscription or session may not show the room: it has come by SUBSCRIBE and was
-- about to leave an earlier stay, or it has not accepted any NOTIFY. Linphone keeps no room without one: it was killed before.
-- If the device is to be there, it is invited. A session that the room knows ends first.
local function leave_unshown(device, is_by_subscribe)
    local name, dialog = without_aor(device), redis.call("HGET", room, "dialog:" .. device)
    local count = tonumber(redis.call("HGET", room, "unshown:" .. name) or 0)
    local is_unshown = (not dialog and is_by_subscribe) or (count > 0 and count <= MAX_UNSHOWN)
    if redis.call("HEXISTS", devices, device) == 0 or not is_unshown or has_given_up(room, name) then
        return
    end
    if dialog then -- the report of this BYE leads on (readmit_device)
        local subscription = subscription_of(device)
        forget_device(device)
        record_departure(name)
        end_dialog(device, with_subscription(dialog, subscription))
        return
    end
    forget_name(device) -- it may still have a subscription, and then does not subscribe when it accepts the INVITE
    if needs_invite(name) then
        send_invite(room, members, request.room, name, request.room)
    end
end

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", members)
redis.call("SCARD", away_rooms)
local device, subscription = request.from, subscription_of(request.from)
if not subscription and device_in(devices, request.from) then
    device = device_in(devices, request.from)
    subscription = subscription_of(device)
end
local rev = tonumber(redis.call("HGET", room, "rev")) or 0
local status, is_last = request.status or "", subscription and subscription.pending == request.of

commit()
if request.event == "message" then
    leave_unshown(request.from, false) -- not of a name that the device had before (admit_device)
    return "done"
elseif not subscription then
    return "done"
elseif is_last and ENDED[status] and subscription.former then
    -- the subscription that this one has replaced is the later one
    subscription.dialog, subscription.expires_at = subscription.former.dialog, subscription.former.expires_at
    subscription.former, subscription.lift, subscription.pending, subscription.rev = nil, nil, "", -1
    subscription.sent = nil -- the last versions went to the other one
    keep_subscription(device, subscription)
    ask_for_notify()
    return "done"
elseif is_last and ENDED[status] then
    end_subscription(device, subscription)
    leave_unshown(device, true)
    return "done"
end
local is_again = false
if is_last then
    subscription.pending = ""
end
if status:sub(1, 1) == "2" then
    if subscription.missed == "probe" then -- the user is back: what it has missed elsewhere follows
        report_online(user_of(device))
    end
    redis.call("HDEL", room, "unshown:" .. without_aor(device))
    local session = redis.call("HGET", room, "dialog:" .. device)
    if session and has_outlived_its_ack(session, tonumber((request.of or ""):match("^%d+")) or 0) then
        confirm_session(device, session) -- the edge that has sent the ACK is gone
    end
    subscription.missed = nil
    subscription.failed = not is_last and subscription.failed or nil
    subscription.former = not is_last and subscription.former or nil
elseif is_last or not ENDED[status] then
    subscription.rev, subscription.failed = -1, true
    local lift = math.max(10 * (subscription.lift or 0), FIRST_LIFT)
    if status == "500" and is_last and lift <= MAX_LIFT then
        subscription.lift, is_again = lift, true
    elseif NOBODY[status] and is_last then
        subscription.missed = true
        wait_for_return(device)
    end
end
keep_subscription(device, subscription)
if is_again or (not subscription.failed and is_last and subscription.rev < rev) then
    ask_for_notify()
end
return "done"
