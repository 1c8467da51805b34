-- The report of a BYE or a notice of a removal that found nobody: it is sent again when the user is back, or by a probe. In
-- the report, `from` is the device or the user, and `dialog` the one that has to end. A device that has entered the room
-- since needs none, nor does a user who is a member again. `status` "withdrawn": the device has lost its session, and could
-- not be told in a new one, because its user is a member again. It is invited. If it does not accept, it is told when the
-- user leaves.
--
-- KEYS:
--   requests     imc:{S}:in            stream
--   events       imc:{S}:out           stream
--   rooms        imc_rooms:{S}         sorted set
--   room         imc_rooms:{S}:ROOM    hash
--   members      imc_members:{S}:ROOM  hash
--   probes       imc:{S}:probes        sorted set
--   probe_waits  imc:{S}:probe_waits   hash
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
local requests, events, rooms, room, members, probes, probe_waits = unpack(KEYS)
local entry_id, delivery_chunk, first_wait_ms = unpack(ARGV)
--- @include "request"
--- @include "emit"
--- @include "role"
--- @include "roster"
--- @include "farewells"
--- @include "forgotten"
--- @include "resume_subscription"
--- @include "invite"
--- @include "readmit"
--- @include "first_probe"

redis.call("ZCARD", rooms) -- is a sorted set
redis.call("HLEN", room)
redis.call("HLEN", members)
local device, dialog = request.from, request.dialog or ""
local user = user_of(device)
redis.call("HLEN", farewells_key(user)) -- is a hash
local name = device_in(devices, without_aor(device))
local is_needed = dialog ~= "" and not name
if not is_device(device) then
    dialog, is_needed = "notice", redis.call("HEXISTS", room, "joined:" .. device) == 0
end
is_needed = is_needed and not is_forgotten(user)
local is_lost = is_needed and request.status == "withdrawn"
local is_wanted = is_lost and needs_invite(without_aor(device))
if is_lost then
    dialog = unknown_dialog(dialog)
end

-- After commit. The BYE of a later session replaces this one. With it stays the subscription of an earlier one.
local function with_kept(text)
    for _, farewell in ipairs(is_device(device) and farewells_in(request.room, without_aor(device)) or {}) do
        local kept = (dialog_ids(farewell.dialog) or {}).subscription
        if kept and not (dialog_ids(text) or {}).subscription then
            return text:match("^(.*)}%s*$") .. ',"subscription":' .. cjson.encode(kept) .. "}"
        end
    end
    return text
end

commit()
if name and resume_subscription(name, dialog) then -- it has accepted an INVITE before this BYE came
    ask_for_notify()
end
if is_wanted then -- first: it is of no use to send the BYE before that INVITE
    send_invite(room, members, request.room, without_aor(device), request.room)
end
if is_needed then
    keep_farewell(request.room, device, with_kept(dialog))
    plan_first_probe(user)
end
return "done"
