-- Requests are accepted into their shard's in-stream, each once: a retransmission, or a balancer's retry, changes
-- nothing.
--
-- KEYS:
--   recent    imc:{S}:seen:recent  set
--   older     imc:{S}:seen:older   set
--   clock     imc:{S}:seen:clock   hash
--   requests  imc:{S}:in           stream
--
-- ARGV:
--   seen_ms         how long a retransmission is recognised, at least
--   max_backlog     maximum length of the stream, 0 for no limit
--   members_prefix  imc_members:{S}: to count the recipients of messages, or empty
--   ...             for each request: its digest, how many fields and values it has, and these, the first of them
--                   type, from, room; of a message with nothing but from, room and data, 0 and these three values
--
-- Returns:
--   accepted    in a list, at the place of a request: it is in the stream; for a message with members_prefix,
--               the number of recipients instead
--   duplicate   likewise: it was accepted before
--   overloaded  likewise: the stream is full, the request is not kept
local recent, older, clock, requests = unpack(KEYS)
local seen_ms, max_backlog, members_prefix = unpack(ARGV)
local parts, at = ARGV, 4
max_backlog = tonumber(max_backlog)
local call = redis.call -- looked up once: every request passes here

-- Of each request the digest, how many fields and values it has, and where in parts they begin.
local digests, first, sizes, count, total = {}, {}, {}, 0, #parts
while at < total do
    local size = tonumber(parts[at + 1])
    assert(size >= 0 and size % 2 == 0, "fields and values")
    count = count + 1
    digests[count], first[count], sizes[count] = parts[at], at + 2, size
    at = at + 2 + (size == 0 and 3 or size)
end
assert(count > 0 and at == total + 1, "for each request a digest, a number, and as many fields and values")
--- @include "duplicates"
--- @include "may_speak"

local backlog = call("XLEN", requests)
local new, place, duplicates = {}, {}, {}

-- The result for an accepted request. With members_prefix, that of a message is the number of its recipients, which
-- its sender is charged; 0 if the sender may not speak. Invited users count until they accept or decline. A room with
-- a key of a wrong type counts 0: its worker reports the error.
local function result_of(i)
    local request, is_short = first[i], sizes[i] == 0
    if members_prefix == "" or not (is_short or parts[request + 1] == "message") then
        return "accepted"
    end
    local from, room = parts[request + 3], parts[request + 5]
    if is_short then
        from, room = parts[request], parts[request + 1]
    end
    local members = members_prefix .. room
    local role = redis.pcall("HGET", members, from)
    return type(role) == "string" and may_speak(role) and call("HLEN", members) - 1 or 0
end

-- Decides about the i-th request; writes nothing.
local function judge(i, digest)
    if is_duplicate(i) then
        duplicates[#duplicates + 1] = digest
        return "duplicate"
    elseif place[digest] then
        return "duplicate"
    elseif max_backlog > 0 and backlog + #new >= max_backlog then
        return "overloaded"
    end
    new[#new + 1], place[digest] = digest, i
    return result_of(i)
end

local results = {}
for i = 1, count do
    results[i] = judge(i, digests[i])
end
if #new > 0 then
    remember(new)
    for n = 1, #new do
        local i = place[new[n]]
        local request, size = first[i], sizes[i]
        if size == 0 then
            local from, room, data = parts[request], parts[request + 1], parts[request + 2]
            call("XADD", requests, "*", "type", "message", "from", from, "room", room, "data", data)
        else
            call("XADD", requests, "*", unpack(parts, request, request + size - 1))
        end
    end
end
if #duplicates > 0 then
    renew(duplicates)
end
return results
