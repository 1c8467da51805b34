-- NOTIFY requests with the roster (RFC 4575), one for each subscription. A subscription is a field `subscription:DEVICE` of
-- the room's hash, as JSON: `dialog` is the edge's text, unread; `expires_at` in ms since the epoch; `version`, the highest of
-- this device; `sent`, that of the last NOTIFY in this dialog, or the one that the device says it has; `rev`, the change
-- it has seen (-1: unknown, so the next one is full); `pending`, the id of its event;
-- `missed`, if its last NOTIFY found nobody, "probe" while another one is tried (missed_notify); `failed`, if it failed in
-- any way; `lift`, by how much its CSeq numbers are higher (settle_notify); `former`, a subscription that it has replaced,
-- until the device has accepted a NOTIFY. Needs room, members and what roster and role give. Gives subscription_of,
-- keep_subscription, end_subscription, with_field, is_confirmed, notify, notify_of_end, expire_subscription.
-- Events of this include: `notify` to the device; dialog: where to send it, with version, lift and expires_in, the seconds
-- that are left; detail: JSON with full, version, subject, created_at, users as {address, role or "deleted", devices,
-- devices that are gone}, terminated.
--- @include "now"
local read_roster, changes_since = nil, {}

local function subscription_of(device)
    local text = redis.call("HGET", room, "subscription:" .. device)
    return text and cjson.decode(text)
end

-- After commit.
local function keep_subscription(device, subscription)
    redis.call("HSET", room, "subscription:" .. device, cjson.encode(subscription))
end

-- After commit. Later subscriptions begin with higher versions, also while the last NOTIFY of this one is in flight: the
-- field `last_version` of the room's hash is the highest of all that have ended.
local function end_subscription(device, subscription)
    redis.call("HDEL", room, "subscription:" .. device)
    if subscription.version > (tonumber(redis.call("HGET", room, "last_version")) or 0) then
        redis.call("HSET", room, "last_version", subscription.version)
    end
end

-- The devices of this user of which the room's hash has a field of this kind, also those that are not in the room.
local function with_field(kind, user)
    local found, start = {}, kind .. ":" .. user .. ";gr="
    for _, field in ipairs(redis.call("HKEYS", room)) do
        if field:sub(1, #start) == start then
            found[#found + 1] = field:sub(#kind + 2)
        end
    end
    return found
end

local function json_list(texts)
    local found = {}
    for i, text in ipairs(texts or {}) do
        found[i] = cjson.encode(text)
    end
    return "[" .. table.concat(found, ",") .. "]"
end

local function json_user(address, role, present, gone)
    return "[" .. table.concat({ cjson.encode(address), cjson.encode(role), json_list(present), json_list(gone) }, ",") .. "]"
end

-- Roles and devices by user, and the state of the room: read once in a script.
local function now_in_room()
    if read_roster then
        return read_roster
    end
    local roles, present, is_present, all = {}, {}, {}, redis.call("HGETALL", members)
    for i = 1, #all, 2 do
        roles[all[i]] = is_member(all[i + 1]) and role_of(all[i + 1]) or nil
    end
    for _, device in ipairs(redis.call("HKEYS", devices)) do
        local user = user_of(device)
        present[user] = present[user] or {}
        table.insert(present[user], without_aor(device))
        is_present[without_aor(device)] = true
    end
    local rev, forgotten, topic, created_at = unpack(redis.call("HMGET", room, "rev", "forgotten", "topic", "created_at"))
    read_roster = {
        roles = roles, devices = present, is_present = is_present, rev = tonumber(rev) or 0, forgotten = tonumber(forgotten) or 0,
        subject = ',"subject":' .. cjson.encode(topic or ""), created_at = ',"created_at":' .. (created_at or 0),
    }
    return read_roster
end

-- The part of a NOTIFY's detail that is the same for all who have seen the same; `since` -1: everything.
local function description(since)
    local room_now = now_in_room()
    if since < room_now.forgotten then
        since = -1
    end
    local made = changes_since[since]
    if made then
        return made
    end
    local users, gone, about, listed, came = {}, {}, "", {}, {}
    if since < 0 then
        about = room_now.subject .. room_now.created_at
        for user in pairs(room_now.roles) do
            users[#users + 1] = user
        end
    end
    local changes = since < 0 and {} or redis.call("ZRANGEBYSCORE", roster, "(" .. since, "+inf")
    for _, changed in ipairs(changes) do
        local how, who = changed:match("^%*(%l+) %d+ (.*)$")
        if who and came[who] == nil then
            came[who] = how == "came" -- the first after `since`: it was not there before
        end
    end
    for _, changed in ipairs(changes) do
        local user = user_of(changed)
        -- who was not there at `since` and is not there now is nobody to this subscriber
        local is_unseen = came[user] and not room_now.roles[user]
            or (came[changed] and user ~= changed and not room_now.is_present[changed])
        if changed == "*subject" then
            about = room_now.subject
        elseif changed:sub(1, 1) ~= "*" and not is_unseen then
            if user ~= changed and not room_now.is_present[changed] then
                gone[user] = gone[user] or {}
                table.insert(gone[user], changed)
            end
            if not listed[user] then
                listed[user], users[#users + 1] = true, user
            end
        end
    end
    table.sort(users)
    local parts = {}
    for i, user in ipairs(users) do
        parts[i] = json_user(user, room_now.roles[user] or "deleted", room_now.devices[user], gone[user])
    end
    made = { full = tostring(since < 0), rest = about .. ',"users":[' .. table.concat(parts, ",") .. "]" }
    changes_since[since] = made
    return made
end

-- Whether the device has the latest version, and has got it here: later versions may have gone to another dialog of the
-- device, which it did not know any more. RFC 4575 §4.4: a partial roster is of no use to a device that lacks the one before.
local function is_confirmed(subscription)
    return subscription.pending == "" and not subscription.failed and subscription.sent == subscription.version
end

-- After commit. The next NOTIFY of this subscription, with what it has not seen, or with `rest`. `terminated` is the reason
-- why the subscription ends with it, or empty: then it is kept. `is_full`: whether `rest` is a whole roster.
local function notify(device, subscription, terminated, rest, is_full)
    local since = is_confirmed(subscription) and subscription.rev or -1
    local made = rest and { full = tostring(is_full or false), rest = rest } or description(since)
    subscription.version, subscription.rev = subscription.version + 1, now_in_room().rev
    subscription.sent = subscription.version
    local version = string.format('"version":%d', subscription.version)
    local dialog = subscription.dialog:gsub("}%s*$", "")
    -- how long, not until when: the clock of an edge may be wrong
    local expires_in = math.min(math.max(0, math.ceil((subscription.expires_at - now) / 1000)), 7 * 24 * 3600)
    dialog = dialog .. string.format(',"expires_in":%d,"lift":%d,%s}', expires_in, subscription.lift or 0, version)
    local detail = '{"full":' .. made.full .. "," .. version .. made.rest .. ',"terminated":' .. cjson.encode(terminated) .. "}"
    local cause = request
    request = { room = cause.room, from = cause.room }
    subscription.pending = emit("notify", { device }, "dialog", dialog, "detail", detail)
    request = cause
    if terminated == "" then
        keep_subscription(device, subscription)
    end
end

-- After commit. The last NOTIFY of a device whose user has left: nobody is in the room any more, as far as it is told.
local function notify_of_end(device, subscription)
    local left = '[' .. json_user(user_of(device), "deleted") .. "]"
    notify(device, subscription, "noresource", ',"users":' .. (is_confirmed(subscription) and left or "[]"), not is_confirmed(subscription))
end

-- The time of a subscription is over. RFC 6665 §4.4.1: a device that is here is told, and can subscribe again. Perhaps only
-- Redis's clock was ahead. The first write works when memory is full, and then the others do.
local function expire_subscription(device, subscription)
    redis.call("HDEL", room, "subscription:" .. device)
    if redis.call("HGET", devices, device) == "device" then
        notify(device, subscription, "timeout", nil)
    end
    end_subscription(device, subscription)
end
