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
--                   type, from, room
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

-- Of each request the digest, and where in parts its fields and values are.
local digests, first, last, count = {}, {}, {}, 0
while at < #parts do
    local size = tonumber(parts[at + 1])
    assert(size > 0 and size % 2 == 0, "fields and values")
    count = count + 1
    digests[count], first[count], last[count] = parts[at], at + 2, at + 1 + size
    at = at + 2 + size
end
assert(count > 0 and at == #parts + 1, "for each request a digest, a number, and as many fields and values")
--- @include "duplicates"
--- @include "may_speak"

local backlog = call("XLEN", requests)
local new, place, duplicates = {}, {}, {}

-- The result for an accepted request. With members_prefix, that of a message is the number of its recipients, which
-- its sender is charged; 0 if the sender may not speak. Invited users count until they accept or decline. A room with
-- a key of a wrong type counts 0: its worker reports the error.
local function result_of(request)
    local kind, from, room = parts[request + 1], parts[request + 3], parts[request + 5]
    if members_prefix == "" or kind ~= "message" then
        return "accepted"
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
    return result_of(first[i])
end

local results = {}
for i = 1, count do
    results[i] = judge(i, digests[i])
end
if #new > 0 then
    remember(new)
    for n = 1, #new do
        local i = place[new[n]]
        call("XADD", requests, "*", unpack(parts, first[i], last[i]))
    end
end
if #duplicates > 0 then
    renew(duplicates)
end
return results
