-- Refuses JSON bodies with a field that the contract does not have, which Envoy's transcoder would ignore in silence, and
-- bodies that are not sent as application/json: a page may send text/plain and forms anywhere without being asked first.
--
-- RULES and MESSAGES, written before this text, come from the contract:
--   RULES     verb -> list of {pattern of the path, number of the body's message, field of the request that it is}
--   MESSAGES  number -> {name = full name, fields = {field -> number of its message; 0: nothing to look into}};
--             a map has `each` in place of `fields`
-- Malformed JSON is none of its business: the transcoder says what is wrong with it.

local DEEPEST = 100

-- The position after blanks.
local function skip(text, at)
  local _, last = string.find(text, "^[ \t\r\n]*", at)
  return last + 1
end

-- The position after the string that begins at `at`, and its content; nil when it does not end.
local function read_string(text, at)
  local from = at + 1
  while true do
    local found = string.find(text, '["\\]', from)
    if not found then
      return nil
    end
    if string.byte(text, found) == 34 then
      return found + 1, string.sub(text, at + 1, found - 1)
    end
    from = found + 2
  end
end

local walk

local function walk_object(text, at, message, path, depth)
  at = skip(text, at + 1)
  if string.byte(text, at) == 125 then
    return at + 1
  end
  while true do
    if string.byte(text, at) ~= 34 then
      return nil
    end
    local after, name = read_string(text, at)
    if not after then
      return nil
    end
    at = skip(text, after)
    if string.byte(text, at) ~= 58 then
      return nil
    end
    local within, inner = 0, path
    local schema = MESSAGES[message]
    if schema then
      inner = path == "" and name or path .. "." .. name
      within = schema.each or schema.fields[name]
      -- An escaped name may be any name.
      if not within and not string.find(name, "\\", 1, true) then
        return nil, inner, schema.name
      end
    end
    local unknown, owner
    at, unknown, owner = walk(text, skip(text, at + 1), within or 0, inner, depth + 1)
    if not at then
      return nil, unknown, owner
    end
    at = skip(text, at)
    local next_byte = string.byte(text, at)
    if next_byte == 125 then
      return at + 1
    elseif next_byte ~= 44 then
      return nil
    end
    at = skip(text, at + 1)
  end
end

local function walk_array(text, at, message, path, depth)
  at = skip(text, at + 1)
  if string.byte(text, at) == 93 then
    return at + 1
  end
  local index = 0
  while true do
    local unknown, owner
    at, unknown, owner = walk(text, at, message, path .. "[" .. index .. "]", depth + 1)
    if not at then
      return nil, unknown, owner
    end
    index = index + 1
    at = skip(text, at)
    local next_byte = string.byte(text, at)
    if next_byte == 93 then
      return at + 1
    elseif next_byte ~= 44 then
      return nil
    end
    at = skip(text, at + 1)
  end
end

-- The position after the value that begins at `at`; or nil, and the path of an unknown field and its message's name.
function walk(text, at, message, path, depth)
  local first = string.byte(text, at)
  if depth > DEEPEST then
    return nil
  elseif first == 123 then
    return walk_object(text, at, message, path, depth)
  elseif first == 91 then
    return walk_array(text, at, message, path, depth)
  elseif first == 34 then
    return (read_string(text, at))
  end
  local _, last = string.find(text, "^[%w+%-.]+", at)
  return last and last + 1
end

-- The message that the body of a request is, and the field that holds it; nil when it is none.
local function body_message(verb, path)
  path = string.gsub(path, "[?#].*$", "")
  for _, rule in ipairs(RULES[verb] or {}) do
    if string.find(path, rule[1]) then
      return rule[2], rule[3]
    end
  end
end

local function is_json(content_type)
  local media_type = string.match(content_type or "", "^%s*([^;%s]*)")
  return string.lower(media_type) == "application/json"
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local message, field = body_message(headers:get(":method"), headers:get(":path"))
  if not message then
    return
  end
  -- The headers are gone once the body was waited for.
  local sent_as_json = is_json(headers:get("content-type"))
  local body = handle:body()
  if not body or body:length() == 0 then
    return
  end
  if not sent_as_json then
    handle:respond({ [":status"] = "415" }, "a JSON body comes with the header Content-Type: application/json")
    return
  end
  local text = body:getBytes(0, body:length())
  local _, unknown, owner = walk(text, skip(text, 1), message, field, 0)
  if unknown then
    handle:streamInfo():dynamicMetadata():set("milimo", "unknown_field", unknown)
    handle:respond({ [":status"] = "400" }, unknown .. ": there is no such field in " .. owner)
  end
end
