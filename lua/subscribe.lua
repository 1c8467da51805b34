-- A device subscribes to the roster of the room (RFC 4575), refreshes its subscription, or ends it. Each gets a NOTIFY at
-- once (RFC 6665 §4.2.1.2): what has changed, if the device names the version that it was sent last, or else the whole
-- roster. `detail` is the time in seconds, the version that the device has, and "list" if the request was for several
-- rooms. A client that subscribes knows the room: if it is not there, as with a new name after it was installed again, it
-- enters now. But not while a BYE of an earlier stay of its user is on its way to it: that ends what it shows, and then it
-- is invited (readmit_device).
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
--   history_off  imc:{S}:history_off      set
--
-- ARGV:
--   entry_id        the request's id in requests
--   delivery_chunk  recipients per event entry, at most
--   history_max     messages that a room keeps, approximately; 0: none
--
-- Returns:
--   done   the request was handled, which may be a refusal
--   gone   it was handled before: nothing changed
--   early  an older request is still there: nothing changed
--
-- Events:
--   notify  to the device; to one whose user is no member, only that the subscription has ended
--   bye     to the device of such a user, if it asks for the rosters of all its rooms; dialog: one that it does not know
local requests, events, rooms, room, members, away_rooms, probes, probe_waits, history_off = unpack(KEYS)
local entry_id, delivery_chunk, history_max = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "admit_device"
--- @include "invite"

local MAX_SECONDS, MAX_VERSION = 7 * 24 * 3600, 2 ^ 31
-- Of one user, by devices that are not in the room, as while the report of the INVITE is on its way.
local MAX_EARLY = 8
-- Events among which such a BYE is looked for.
local MAX_EVENTS = 1000
redis.call("ZCARD", rooms) -- is a sorted set
redis.call("SCARD", away_rooms)
redis.call("ZCARD", probes)
redis.call("HLEN", probe_waits)
local keeps = tonumber(history_max) > 0 and redis.call("SISMEMBER", history_off, request.room) == 0
local value = redis.call("HGET", members, request.from)
local seconds, last = (request.detail or ""):match("^(%d+) (%d+)")
local is_list = (request.detail or ""):find("list", 1, true)
seconds, last = math.min(tonumber(seconds or 0), MAX_SECONDS), math.min(tonumber(last or 0), MAX_VERSION)
local device = device_in(devices, request.device) or assert(request.device, "device")
local dialog = dialog_of(request)
local is_own_device = user_of(device) == request.from
local is_allowed = is_own_device and is_member(value)
local known = subscription_of(device)
local is_in_room = redis.call("HEXISTS", devices, device) == 1
local ids = dialog_ids(dialog)
local is_same = known and dialog_ids(known.dialog).call_id == ids.call_id
local ended = tonumber(redis.call("HGET", room, "last_version")) or 0
local subscription = { version = math.max(last, ended), sent = last, rev = -1, pending = "" }
if known then
    subscription.version = math.max(known.version, last)
    subscription.rev = is_in_room and known.version == last and known.rev or -1
    subscription.lift = is_same and known.lift or nil
end
subscription.dialog, subscription.expires_at = dialog, now + seconds * 1000
-- The client may have given this one up for that: SUBSCRIBE requests can overtake each other (settle_notify).
if known and not is_same and known.expires_at > now then
    subscription.former = { dialog = known.dialog, expires_at = known.expires_at }
end

-- Subscriptions that give way to this one.
local early = {}
if is_allowed and seconds > 0 and not is_in_room then
    for _, other in ipairs(with_field("subscription", request.from)) do
        if other ~= device and redis.call("HEXISTS", devices, other) == 0 then
            early[#early + 1] = other
        end
    end
end

-- Whether a BYE to this device, without ";aor", is on its way.
local function gets_bye(name)
    for _, entry in ipairs(redis.call("XRANGE", events, "-", "+", "COUNT", MAX_EVENTS)) do
        local event = {}
        for i = 1, #entry[2], 2 do
            event[entry[2][i]] = entry[2][i + 1]
        end
        if event.event == "bye" and event.room == request.room and without_aor(event.to) == name then
            return true
        end
    end
    return false
end

-- While an INVITE is under way, its report brings the name that the device has in the room.
local enters = is_allowed and seconds > 0 and not is_in_room and not is_under_way(room, request.from, value)
    and not gets_bye(device)
-- In From is the name by which the client keeps the room: its user's, if its INVITE went there. Not if it asks for several rooms.
local is_by_aor = ids.remote_uri and not ids.remote_uri:find(";gr=", 1, true)
local has_place, replaced = place_for(device)
local position, joined = unpack(redis.call("HMGET", room, "away:" .. request.from, "joined:" .. request.from))
position = keeps and (position or joined) or nil

commit()
if enters and has_place then
    device = is_by_aor and device .. ";aor" or is_list and name_of(device) or device
    let_in(device, value, position, nil, replaced)
end
for i = MAX_EARLY, #early do
    end_subscription(early[i], subscription_of(early[i]))
end
local session = is_in_room and seconds == 0 and redis.call("HGET", room, "dialog:" .. device)
if session then
    redis.call("HSET", room, "dialog:" .. device, with_leaving(session, entry_id:match("^%d+")))
end
if not is_allowed then
    -- with the version that the device has: nobody would remember another one, and the next roster would have the same
    subscription.expires_at, subscription.version = now, last - 1
    notify(device, subscription, "noresource", ',"users":[]')
    if is_own_device and seconds > 0 and is_list then
        -- it was off when its user was removed; it may miss this as well
        local asked = { dialog = dialog, expires_at = now + seconds * 1000 }
        end_dialog(device, with_subscription(unknown_dialog(dialog), asked))
    end
elseif seconds > 0 then
    notify(device, subscription, "", nil)
elseif is_same and known.former and known.former.expires_at > now then
    -- the subscription that it has replaced is the later one, and goes on (settle_notify)
    notify(device, subscription, "timeout", nil)
    keep_subscription(device, {
        version = subscription.version, rev = -1, pending = "",
        dialog = known.former.dialog, expires_at = known.former.expires_at,
    })
    ask_for_notify()
elseif is_same or not known then
    notify(device, subscription, "timeout", nil)
    end_subscription(device, subscription)
    end_kept_subscription(device, dialog)
else -- the end of an older subscription, which another one has replaced
    notify(device, subscription, "timeout", nil)
    known.version, known.rev = subscription.version, -1
    keep_subscription(device, known)
end
return "done"
